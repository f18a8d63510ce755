"""Everything of Tradu that knows Airflow."""
