"""Real Kafka and Redis on this machine, for `yadtq up` and tests; they die with their owner."""

from yadtq.embedded.kafka import EmbeddedKafka
from yadtq.embedded.redis import EmbeddedRedis
from yadtq.errors import EmbeddedError

__all__ = ["EmbeddedError", "EmbeddedKafka", "EmbeddedRedis"]
