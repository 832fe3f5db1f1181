"""The Redis under test: read as a whole, moved in time, set back to an earlier moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import redis

from yadtq.config import load_settings
from yadtq.core.yadtq_result_db import Reply, ResultStore

# Everything under one prefix in one call: key, type, ms to live, content.
READ_ALL = """
local out = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind, content = redis.call('TYPE', key)['ok'], nil
  if kind == 'hash' then content = redis.call('HGETALL', key)
  elseif kind == 'zset' then content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then content = redis.call('SMEMBERS', key)
  elseif kind == 'list' then content = redis.call('LRANGE', key, 0, -1)
  else content = redis.call('GET', key) end
  out[#out + 1] = {key, kind, redis.call('PTTL', key), content}
end
return out
"""

# As if so many ms had passed: every moment noted is that much earlier, every time to live that much shorter.
PASS_TIME = """
local prefix, span = ARGV[1], tonumber(ARGV[2])
local function text(n) return string.format('%.0f', n) end
local moments = {'due', 'expires', 'submitted', 'changed', 'started', 'cancel', 'retried', 'beat', 'series', 'stopped'}
for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
  local name, kind = string.sub(key, #prefix + 1), redis.call('TYPE', key)['ok']
  if kind == 'hash' and (string.sub(name, 1, 2) == 't:' or string.sub(name, 1, 7) == 'worker:') then
    for _, field in ipairs(moments) do
      local value = redis.call('HGET', key, field)
      if value then redis.call('HSET', key, field, text(value - span)) end
    end
  elseif name == 'gaps' then
    local gaps = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    redis.call('DEL', key)
    for i = 1, #gaps, 2 do redis.call('ZADD', key, text(gaps[i + 1] - span), text(gaps[i] - span)) end
  elseif kind == 'zset' and name ~= 'upd' and name ~= 'sizes' then
    local unit = (string.sub(name, 1, 6) == 'index:' or string.sub(name, 1, 5) == 'group' or string.sub(name, 1, 8) == 'control:') and 1000 or 1
    local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do redis.call('ZADD', key, text(entries[i + 1] - span * unit), entries[i]) end
  elseif name == 'epoch' then
    local born, rest = string.match(redis.call('GET', key), '^(%d+)(.*)$')
    redis.call('SET', key, text(born - span) .. rest)
  end
  local left = redis.call('PTTL', key)
  if left > math.max(span, 0) or (left >= 0 and span < 0) then redis.call('PEXPIRE', key, text(left - span))
  elseif left >= 0 then redis.call('DEL', key) end
end
"""


# All keys to come back to: when they were copied (ms), how much time had been skipped by then (ms), and each key's name,
# time to live (ms) and content.
Copy = tuple[int, int, list[tuple[bytes, int, bytes]]]


@dataclass
class Picture:
    """All keys at one moment, by what they hold."""

    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    ttl: dict[str, int] = field(default_factory=dict)  # ms; -1 without end
    zsets: dict[str, dict[str, float]] = field(default_factory=dict)
    sets: dict[str, set[str]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)

    def index(self, status: str) -> set[str]:
        return set(self.zsets.get(f"index:{status}", {}))

    def counts(self, name: str) -> dict[str, int]:
        return {queue: int(n) for queue, n in self.hashes.get(name, {}).items() if int(n)}


class World(ResultStore):
    """A result store whose Redis can be read as a whole and moved in time; keeps the last answer."""

    reply: Reply

    def __init__(self, url: str, prefix: str, **others: Any) -> None:
        settings = {"result_ttl": 10_000, "failed_ttl": 20_000, "topic_retention": 30_000}
        super().__init__(load_settings({}, redis_url=url, redis_prefix=prefix, **settings, **others))
        self.plain = redis.Redis.from_url(url, decode_responses=True)
        self._read_all = self.plain.register_script(READ_ALL)
        self._pass_time = self.plain.register_script(PASS_TIME)
        self._run_id = self.plain.info("server")["run_id"]
        self.passed = 0  # ms that were skipped

    def run(self, move: str, *args: Any) -> Reply:
        self.reply = super().run(move, *args)
        return self.reply

    @property
    def era(self) -> str:
        """As the answer to a move made now would tell it."""
        return f"{self.plain.get(self.key('epoch'))}/{self._run_id}"

    def picture(self) -> Picture:
        found = Picture()
        for key, kind, ttl, content in self._read_all(args=[self.prefix]):
            name = key[len(self.prefix) :]
            found.ttl[name] = ttl
            if kind == "hash":
                values = dict(zip(content[::2], content[1::2], strict=True))
                if name.startswith("t:"):
                    found.rows[name[2:]] = values
                else:
                    found.hashes[name] = values
            elif kind == "zset":
                members = zip(content[::2], content[1::2], strict=True)
                found.zsets[name] = {member: float(score) for member, score in members}
            elif kind == "set":
                found.sets[name] = set(content)
            elif kind == "list":
                found.lists[name] = content
            else:
                found.strings[name] = content
        return found

    def pass_time(self, span: int) -> None:
        self._pass_time(args=[self.prefix, span])
        self.passed += span

    def keep_copy(self) -> Copy:
        """Everything as it is now, to come back to."""
        keys = self.client.keys(f"{self.prefix}*")
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(key)
            pipe.dump(key)
        found = pipe.execute()
        return (
            self.time_ms(),
            self.passed,
            [(key, max(0, found[2 * i]), found[2 * i + 1]) for i, key in enumerate(keys)],
        )

    def go_back(self, copy: Copy) -> int:
        """As a Redis that lost its last writes; returns how many ms were skipped since."""
        at, passed, keys = copy
        self.wipe()
        pipe = self.client.pipeline(transaction=False)
        for key, ttl, content in keys:
            pipe.restore(key, max(1, ttl - self.time_ms() + at) if ttl else 0, content)
        pipe.execute()
        self.restart()
        since = self.passed - passed
        if since:
            self._pass_time(args=[self.prefix, since])
        return since

    def restart(self) -> None:
        """The data is the same, and another run of Redis answers from it."""
        self.plain.set(self.key("server"), "an earlier run")

    def wipe(self) -> None:
        keys = self.client.keys(f"{self.prefix}*")
        if keys:
            self.client.delete(*keys)
