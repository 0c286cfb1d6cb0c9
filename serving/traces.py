"""Traces, where OTEL_EXPORTER_OTLP_ENDPOINT is set: a span of every request and of its parts, sent by OTLP over HTTP.

The SDK reads the standard OTEL_* variables itself. Where none is asked for nothing of this is called: the parts of a
request are watched by taking the place of the functions that do them, and only then.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

from feature_store.errors import Usage
from serving.log import log
from serving.noted import Note

if TYPE_CHECKING:  # the parent, which asks whether they can be made, loads no predictor
    from serving.api import Answering

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")

LAST_S = 2.0
"""How long a worker that ends waits for its last spans to be taken."""

EVERY_S = 60.0
"""Between two lines of the log about spans that are not taken."""


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether requests are to be traced."""
    return any(environment.get(name) for name in ENDPOINTS) and environment.get("OTEL_SDK_DISABLED") != "true"


def refuse_unfit(environment: Mapping[str, str]) -> None:
    """Raises Usage when traces are wanted, and can't be made here or not in the way that is asked for."""
    if not wanted(environment):
        return
    if not all(_is_installed(name) for name in _NEEDED):
        raise Usage(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry's exporter, which is not installed.\n"
            "Install it with: pip install 'gancao[traces]'"
        )
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise Usage(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, but traces are sent by http/protobuf only.\n"
            "Name that, or nothing, and a port of the collector that takes it (4318 as a rule)."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the packages around it
        return False


class Traces:
    """The traces of one worker. Spans are sent by a thread, and dropped rather than waited for."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        _into_our_log()
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "gancao"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("gancao", metadata.version("gancao"))
        self._extract = TraceContextTextMapPropagator().extract
        self._server, self._failed = trace.SpanKind.SERVER, trace.StatusCode.ERROR

    @contextmanager
    def request(self, note: Note, traceparent: bytes | None) -> Iterator[None]:
        """The span of a request, in the caller's trace if it names one. What is noted by its end is told of it."""
        parent = self._extract({} if traceparent is None else {"traceparent": traceparent.decode("latin-1")})
        with self._span(note.method, context=parent, kind=self._server) as span:
            note.trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                yield
            finally:
                span.update_name(f"{note.method} {note.route}" if note.route else note.method)
                span.set_attributes({name: value for name, value in _attributes(note).items() if value is not None})
                if note.status >= 500:
                    span.set_status(self._failed)

    def watch(self, answering: Answering) -> None:
        """Have what a worker does for a request stand in its trace."""
        for part, owner, name in (
            ("decode", answering, "decode"),
            ("predict", answering, "predict"),
            ("explain", answering.explaining, "explain"),
            ("journal", answering.journal, "keep"),
            ("journal", answering.journal, "keep_outcomes"),
        ):
            setattr(owner, name, self._watched(part, getattr(owner, name)))

    def close(self) -> None:
        """Send what is left, as long as that may take."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(LAST_S)

    def _span(self, name: str, **more: Any) -> Any:
        # an exception's words may hold what was sent, and so may those of its traceback
        return self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False, **more)

    def _watched(self, part: str, does: Callable[..., Any]) -> Callable[..., Any]:
        """The function, in a span of its own."""

        async def later(*given: Any, **named: Any) -> Any:
            with self._span(part):
                return await does(*given, **named)

        def now(*given: Any, **named: Any) -> Any:
            with self._span(part):
                return does(*given, **named)

        return later if inspect.iscoroutinefunction(does) else now


def _attributes(note: Note) -> dict[str, str | int | None]:
    """What is told of a request: names of ours and numbers, by OpenTelemetry's names where it has some."""
    return {
        "http.request.method": note.method,
        "http.route": note.route,
        "http.response.status_code": note.status,
        "gancao.request_id": note.request_id,
        "gancao.task": note.task,
        "gancao.version": note.version,
        "gancao.problem": note.problem,
    }


class _OurLog(logging.Handler):
    """What OpenTelemetry complains of, now and then: its words without what they are about."""

    told = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() >= self.told + EVERY_S:
            self.told = time.monotonic()
            log("traces_not_sent", said=str(record.msg))


def _into_our_log() -> None:
    theirs = logging.getLogger("opentelemetry")
    theirs.handlers, theirs.propagate = [_OurLog(logging.WARNING)], False
