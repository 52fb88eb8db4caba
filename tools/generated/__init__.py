"""Files that ./etl writes: the schemas and the reference, from the models, and entries of definitions."""
