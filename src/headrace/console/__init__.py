"""Pages for people, rendered here from the same services, and under the same rules, as the API."""
