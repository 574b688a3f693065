"""Proof by mutants: a change of the code that no test notices is a test that is missing."""
