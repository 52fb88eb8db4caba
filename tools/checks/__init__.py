"""What only ./etl check knows, besides what the factory itself checks."""
