// A realistic session of node-redis, in RESP2 and RESP3, against the server at FENCEPOST_PORT. Run by tests/e2e/run.sh.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient, RESP_TYPES } from 'redis';

const port = Number(process.env.FENCEPOST_PORT);

for (const RESP of [2, 3]) {
  async function session(work) {
    const client = createClient({ socket: { port }, RESP, database: 11, name: 'node-redis-e2e' });
    client.on('error', () => {}); // a broken connection fails the command that waits on it
    await client.connect();
    try {
      await client.flushDb();
      await work(client);
      await client.flushDb();
    } finally {
      await client.close();
    }
  }

  test(`RESP${RESP}: the connection introduces itself`, () =>
    session(async (client) => {
      assert.equal(await client.ping(), 'PONG');
      assert.equal(await client.clientGetName(), 'node-redis-e2e');
    }));

  test(`RESP${RESP}: strings, options and several keys at once`, () =>
    session(async (client) => {
      assert.equal(await client.set('k', 'v'), 'OK');
      assert.equal(await client.get('k'), 'v');
      assert.equal(await client.get('missing'), null);
      await client.mSet({ a: '1', b: '2' });
      assert.deepEqual(await client.mGet(['a', 'missing', 'b']), ['1', null, '2']);
      assert.equal(await client.incrBy('a', 9), 10);
      assert.equal(await client.rename('a', 'c'), 'OK');
      assert.equal(await client.getDel('c'), '10');
      assert.equal(await client.exists(['a', 'b', 'c']), 1);
      await assert.rejects(client.incr('k'), /value is not an integer or out of range/);
    }));

  test(`RESP${RESP}: commands sent together are pipelined`, () =>
    session(async (client) => {
      const replies = await Promise.all(Array.from({ length: 1000 }, (_, i) => client.set(`p:${i}`, `${i}`)));
      assert.ok(replies.every((reply) => reply === 'OK'));
      const found = new Set();
      for await (const page of client.scanIterator({ MATCH: 'p:*', COUNT: 100 })) page.forEach((key) => found.add(key));
      assert.equal(found.size, 1000);
    }));

  test(`RESP${RESP}: binary values and expiry`, () =>
    session(async (client) => {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      await client.set('b', bytes);
      const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
      assert.deepEqual(await buffers.get('b'), bytes);
      await client.set('k', 'v', { expiration: { type: 'EX', value: 100 } });
      assert.ok((await client.ttl('k')) > 90);
    }));

  test(`RESP${RESP}: channels`, () =>
    session(async (client) => {
      const subscriber = client.duplicate();
      subscriber.on('error', () => {});
      await subscriber.connect();
      const heard = [];
      let enough;
      const all = new Promise((resolve) => (enough = resolve));
      const hear = (message, channel) => heard.push(`${channel} ${message}`) === 200 && enough();
      await subscriber.subscribe('news', hear);
      await subscriber.pSubscribe('n?ws', hear);
      await Promise.all(Array.from({ length: 100 }, (_, i) => client.publish('news', `${i}`)));
      await all;
      assert.deepEqual(heard, Array.from({ length: 200 }, (_, i) => `news ${i >> 1}`));
      await subscriber.unsubscribe();
      await subscriber.pUnsubscribe();
      assert.equal(await client.publish('news', 'anybody?'), 0);
      await subscriber.close();
    }));
}

test("the client's cache follows changes", async () => {
  const options = { socket: { port }, RESP: 3, database: 11 };
  const cached = createClient({ ...options, clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: 'LRU' } });
  const writer = createClient(options);
  await Promise.all([cached.connect(), writer.connect()]);
  await writer.set('k', '0');
  for (let i = 1; i < 200; i++) {
    await cached.get('k');
    await writer.set('k', `${i}`);
    // Its answer comes behind the invalidation.
    await cached.ping();
    assert.equal(await cached.get('k'), `${i}`);
  }
  await writer.del('k');
  await Promise.all([cached.close(), writer.close()]);
});
