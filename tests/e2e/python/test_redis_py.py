"""A realistic session of redis-py, in RESP2 and RESP3, against the server at FENCEPOST_PORT.

Run by tests/e2e/run.sh. Standard library apart from the client itself.
"""

import asyncio
import os
import time
import unittest

import redis
import redis.asyncio
import redis.cache
import redis.connection

PORT = int(os.environ["FENCEPOST_PORT"])


def eventually(condition, seconds=20):
    """Waits for what the server does in its own time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")


class Session:
    """The tests; subclasses choose the protocol."""

    protocol = 2

    def setUp(self):
        self.client = redis.Redis(
            port=PORT, db=9, protocol=self.protocol, client_name="e2e", socket_timeout=120
        )
        self.client.flushdb()

    def tearDown(self):
        self.client.flushdb()
        self.client.close()

    def test_the_connection_introduces_itself(self):
        self.assertTrue(self.client.ping())
        self.assertIn(self.client.client_getname(), ("e2e", b"e2e"))
        info = self.client.client_info()
        self.assertEqual(info["name"], "e2e")
        self.assertEqual(int(info["db"]), 9)
        self.assertTrue(any(c["name"] == "e2e" for c in self.client.client_list()))
        self.assertGreater(self.client.client_id(), 0)

    def test_info_and_config(self):
        info = self.client.info()
        self.assertTrue(info["redis_version"].startswith("7."))
        self.assertIn("used_memory", info)
        self.assertIn("maxmemory", self.client.config_get("maxmemory"))
        self.assertTrue(self.client.config_resetstat())
        self.assertEqual(len(self.client.time()), 2)
        self.assertGreater(self.client.command_count(), 50)

    def test_strings(self):
        c = self.client
        self.assertTrue(c.set("k", "v"))
        self.assertEqual(c.get("k"), b"v")
        self.assertIsNone(c.get("missing"))
        self.assertIsNone(c.set("k", "w", nx=True))
        self.assertEqual(c.set("k", "w", get=True), b"v")
        self.assertEqual(c.append("k", "xyz"), 4)
        self.assertEqual(c.getrange("k", 1, -1), b"xyz")
        self.assertEqual(c.setrange("k", 6, "!"), 7)
        self.assertEqual(c.get("k"), b"wxyz\0\0!")
        self.assertEqual(c.strlen("k"), 7)
        self.assertEqual(c.incr("n"), 1)
        self.assertEqual(c.incrby("n", 41), 42)
        self.assertEqual(c.decr("n"), 41)
        self.assertEqual(c.incrbyfloat("n", 0.5), 41.5)
        self.assertEqual(c.getset("n", "0"), b"41.5")
        self.assertEqual(c.getdel("n"), b"0")
        self.assertFalse(c.exists("n"))
        with self.assertRaisesRegex(redis.ResponseError, "value is not an integer or out of range"):
            c.incr("k")

    def test_many_at_once(self):
        c = self.client
        pairs = {f"key:{i}": f"value {i}" for i in range(500)}
        self.assertTrue(c.mset(pairs))
        self.assertEqual(c.mget(list(pairs)), [v.encode() for v in pairs.values()])
        self.assertFalse(c.msetnx({"key:1": "no", "other": "no"}))
        self.assertFalse(c.exists("other"))
        self.assertEqual(c.dbsize(), 500)
        self.assertEqual(set(c.scan_iter(match="key:1*", count=50)), {k.encode() for k in pairs if k.startswith("key:1")})
        self.assertEqual(sorted(c.keys("key:49?")), sorted(f"key:49{i}".encode() for i in range(10)))
        self.assertEqual(c.delete(*pairs), 500)

    def test_pipelines(self):
        with self.client.pipeline(transaction=False) as pipe:
            for i in range(2000):
                pipe.set(f"p:{i}", i).get(f"p:{i}").incr("total")
            replies = pipe.execute()
        self.assertEqual(len(replies), 6000)
        self.assertEqual(replies[1::3], [str(i).encode() for i in range(2000)])
        self.assertEqual(replies[-1], 2000)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.set("s", "x").incr("s").get("s")
            ok, error, value = pipe.execute(raise_on_error=False)
        self.assertTrue(ok)
        self.assertIsInstance(error, redis.ResponseError)
        self.assertEqual(value, b"x")

    def test_expiry(self):
        c = self.client
        c.set("k", "v", ex=100)
        self.assertTrue(0 < c.ttl("k") <= 100)
        self.assertTrue(c.expireat("k", 4102444800))
        self.assertEqual(c.expiretime("k"), 4102444800)
        self.assertFalse(c.expire("k", 10, gt=True))
        self.assertEqual(c.getex("k", persist=True), b"v")
        self.assertEqual(c.ttl("k"), -1)
        self.assertEqual(c.ttl("missing"), -2)
        c.set("short", "v", px=20)
        eventually(lambda: c.get("short") is None)
        eventually(lambda: c.dbsize() == 1)

    def test_generic(self):
        c = self.client
        c.set("a", "1", ex=1000)
        self.assertTrue(c.rename("a", "b"))
        self.assertGreater(c.ttl("b"), 900)
        self.assertTrue(c.copy("b", "c"))
        self.assertFalse(c.renamenx("b", "c"))
        with self.assertRaisesRegex(redis.ResponseError, "no such key"):
            c.rename("missing", "x")
        self.assertEqual(c.type("b"), b"string")
        self.assertEqual(c.touch("b", "c", "missing"), 2)
        self.assertIn(c.randomkey(), (b"b", b"c"))
        self.assertIn(c.object("encoding", "b"), (b"int", "int"))
        self.assertTrue(c.move("c", 8))
        self.assertEqual(c.unlink("b", "c"), 1)
        c8 = redis.Redis(port=PORT, db=8, protocol=self.protocol)
        self.assertEqual(c8.get("c"), b"1")
        c8.flushdb()
        c8.close()

    def test_bits(self):
        c = self.client
        self.assertEqual(c.setbit("b", 7, 1), 0)
        self.assertEqual(c.getbit("b", 7), 1)
        self.assertEqual(c.bitcount("b"), 1)
        self.assertEqual(c.bitpos("b", 1), 7)
        c.set("x", b"\xff\x0f")
        self.assertEqual(c.bitop("AND", "y", "x", "b"), 2)
        self.assertEqual(c.get("y"), b"\x01\x00")
        field = c.bitfield("f", default_overflow="SAT").set("u8", "#0", 255).incrby("u8", "#0", 10).get("u8", "#0")
        self.assertEqual(field.execute(), [0, 255, 255])
        c.pfadd("h", *range(1000))
        self.assertTrue(950 <= c.pfcount("h") <= 1050)

    def test_binary_and_empty_keys(self):
        c = self.client
        for key in (b"", b"\x00\xff\r\n", bytes(range(256)), b"k" * 100_000):
            value = key[::-1]
            self.assertTrue(c.set(key, value))
            self.assertEqual(c.get(key), value)
        self.assertEqual(len(set(c.scan_iter())), 4)

    def test_a_value_of_100_megabytes(self):
        c = self.client
        block = os.urandom(1 << 20)
        value = block * 100
        self.assertTrue(c.set("big", value))
        self.assertEqual(c.strlen("big"), len(value))
        self.assertEqual(c.getrange("big", 5 << 20, (5 << 20) + 99), block[:100])
        self.assertEqual(c.setrange("big", 70 << 20, b"patched"), len(value))
        self.assertEqual(c.append("big", b"tail"), len(value) + 4)
        patched = bytearray(value + b"tail")
        patched[70 << 20 : (70 << 20) + 7] = b"patched"
        self.assertTrue(c.get("big") == patched)  # assertEqual would print 100 MB
        self.assertEqual(c.delete("big"), 1)

    def test_decoded_responses_and_async(self):
        async def session():
            client = redis.asyncio.Redis(port=PORT, db=9, protocol=self.protocol, decode_responses=True)
            await client.set("schlüssel", "größe")
            values = await asyncio.gather(*(client.get("schlüssel") for _ in range(50)))
            await client.aclose()
            return values

        self.assertEqual(asyncio.run(session()), ["größe"] * 50)

    def test_channels(self):
        subscriber = self.client.pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("news")
        subscriber.psubscribe("n*")
        eventually(lambda: self.client.pubsub_numsub("news") == [(b"news", 1)] and self.client.pubsub_numpat() == 1)
        self.assertEqual(self.client.publish("news", "hello"), 2)
        heard = []

        def both():
            # Nothing is returned for a confirmation.
            message = subscriber.get_message(timeout=0.1)
            if message:
                heard.append((message["type"], message["data"]))
            return len(heard) == 2

        eventually(both)
        self.assertEqual(heard, [("message", b"hello"), ("pmessage", b"hello")])
        subscriber.unsubscribe()
        subscriber.punsubscribe()
        eventually(lambda: self.client.publish("news", "anybody?") == 0)
        subscriber.close()

    def test_keyspace_events(self):
        self.client.config_set("notify-keyspace-events", "KEA")
        subscriber = self.client.pubsub(ignore_subscribe_messages=True)
        subscriber.psubscribe("__keyevent@9__:*")
        eventually(lambda: self.client.pubsub_numpat() == 1)
        self.client.set("k", "v", px=20)
        events = []

        def expired():
            message = subscriber.get_message(timeout=0.1)
            if message:
                events.append((message["channel"].decode().split(":")[1], message["data"]))
            return ("expired", b"k") in events

        eventually(expired)
        self.assertEqual(events, [("set", b"k"), ("expire", b"k"), ("expired", b"k")])
        subscriber.close()
        self.client.config_set("notify-keyspace-events", "")


class Resp2(Session, unittest.TestCase):
    protocol = 2


class Resp3(Session, unittest.TestCase):
    protocol = 3

    def test_hello_answers_a_map(self):
        reply = self.client.execute_command("HELLO", "3")
        reply = {k if isinstance(k, str) else k.decode(): v for k, v in reply.items()}
        self.assertEqual(reply["proto"], 3)
        self.assertEqual(reply["role"], b"master")

    def test_the_client_s_cache_follows_changes(self):
        # The client asks for the version in which Redis's own editions became alike.
        redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.2.0"
        cached = redis.Redis(port=PORT, db=9, protocol=3, cache_config=redis.cache.CacheConfig())
        self.client.set("k", "old")
        self.assertEqual([cached.get("k"), cached.get("k")], [b"old", b"old"])
        self.assertEqual(cached.get_cache().size, 1)
        self.client.set("k", "new")
        # The message comes over another connection than the writer's reply, and may be behind it.
        eventually(lambda: cached.get("k") == b"new")
        cached.close()


if __name__ == "__main__":
    unittest.main()
