"""The local stack: PostgreSQL, Airflow and Dask as supervised processes of one machine."""
