"""The REST API: FastAPI over the service, one file a resource."""
