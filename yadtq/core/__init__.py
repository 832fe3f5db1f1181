"""The engine: pure rules first, then Kafka and Redis, then what runs tasks."""
