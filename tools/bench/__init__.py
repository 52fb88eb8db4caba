"""Behind ``./etl bench``: what the factory costs beside its peers and beside a hand-written loop."""
