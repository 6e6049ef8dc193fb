"""Shapes spread over processes or a Dask cluster."""
