"""The first entrance: HTTP. Handlers translate, services decide."""
