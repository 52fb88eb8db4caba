"""Copying the definitions and the factory to where MWAA reads them."""
