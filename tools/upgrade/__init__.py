"""What an upgrade of Airflow changes for the definitions: seen in each generation, and compared."""
