"""Production settings of gunicorn; they live in webapp.server so that an installed wheel has them too."""

from webapp.server import (  # noqa: F401
    bind,
    control_socket_disable,
    graceful_timeout,
    keepalive,
    max_requests,
    post_worker_init,
    threads,
    timeout,
    worker_class,
    workers,
)
