"""What stands behind ./etl; never deployed."""
