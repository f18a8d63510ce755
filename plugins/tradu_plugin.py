"""The one file Airflow reads in plugins/: declares what the package tradu_airflow adds to it."""
