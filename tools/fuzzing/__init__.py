"""Definitions made by chance, and what has to hold of each of them."""
