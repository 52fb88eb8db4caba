"""Writing releases to where MWAA reads them, and asking AWS whether it has what the definitions name."""
