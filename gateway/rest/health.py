"""`/healthz`, `/readyz`, `/metrics`: for load balancers and Prometheus; no token."""

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from causerie.metrics import Metrics

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process runs."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether to send traffic here, and if not, why."""

    ready: bool
    reason: str | None = None


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=Health, summary="Whether the process runs")
async def healthz() -> Health:
    """Answer."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Whether to send traffic here",
    responses={503: {"model": Readiness, "description": "Not now"}},
)
async def readyz(request: Request) -> JSONResponse:
    """Tell whether delivery through the store is proven to work and the gateway is not stopping."""
    if request.app.state.node.ready:
        return JSONResponse({"ready": True, "reason": None})
    reason = "delivery is not proven to work, or this gateway is stopping"
    return JSONResponse({"ready": False, "reason": reason}, status_code=503)


@router.get("/metrics", response_class=Response, summary="Measurements for Prometheus")
async def metrics(request: Request) -> Response:
    """In Prometheus' text format."""
    return Response(exposition(request.app.state.node.metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Counted(Collector):
    """The process's own counters, as Prometheus wants them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Every counter and gauge."""
        for name, value in self._metrics.values().items():
            about = name.replace("_", " ")
            if name.endswith("_now"):
                yield GaugeMetricFamily(f"causerie_{name}", about, value=value)
            else:
                yield CounterMetricFamily(f"causerie_{name}", about, value=value)


def exposition(metrics: Metrics) -> bytes:
    """The counters and what the process uses, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Counted(metrics))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
