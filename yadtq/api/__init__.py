"""The classes a user meets: client, worker, registry."""
