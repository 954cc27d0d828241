// A realistic session of ioredis against the server at FENCEPOST_PORT. Run by tests/e2e/run.sh.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { Redis } from 'ioredis';

const port = Number(process.env.FENCEPOST_PORT);
let client;

async function eventually(condition) {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, 'it did not happen in time');
  }
}

before(() => {
  client = new Redis({ port, db: 10, connectionName: 'ioredis-e2e' });
});
beforeEach(() => client.flushdb());
after(async () => {
  await client.flushdb();
  await client.quit();
});

test('the connection introduces itself', async () => {
  assert.equal(await client.ping(), 'PONG');
  assert.equal(await client.client('GETNAME'), 'ioredis-e2e');
  assert.match(await client.info('server'), /redis_version:7\./);
});

test('strings, counters and several keys at once', async () => {
  assert.equal(await client.set('k', 'v'), 'OK');
  assert.equal(await client.get('k'), 'v');
  assert.equal(await client.get('missing'), null);
  assert.equal(await client.set('k', 'w', 'NX'), null);
  await client.mset({ a: '1', b: '2' });
  assert.deepEqual(await client.mget('a', 'missing', 'b'), ['1', null, '2']);
  assert.equal(await client.incrby('a', 9), 10);
  assert.equal(await client.rename('a', 'c'), 'OK');
  assert.deepEqual((await client.keys('*')).sort(), ['b', 'c', 'k']);
  await assert.rejects(client.incr('k'), /value is not an integer or out of range/);
});

test('pipelines', async () => {
  const pipeline = client.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.set(`p:${i}`, i).get(`p:${i}`);
  const replies = await pipeline.exec();
  assert.equal(replies.length, 2000);
  assert.deepEqual(replies[1999], [null, '999']);
});

test('a scan stream finds each key', async () => {
  const pipeline = client.pipeline();
  for (let i = 0; i < 3000; i++) pipeline.set(`s:${i}`, 'x');
  await pipeline.exec();
  const found = new Set();
  for await (const page of client.scanStream({ match: 's:*', count: 100 })) page.forEach((key) => found.add(key));
  assert.equal(found.size, 3000);
});

test('expiry', async () => {
  await client.set('k', 'v', 'PX', 20);
  await eventually(async () => (await client.exists('k')) === 0);
  await client.set('k', 'v', 'EX', 100);
  assert.ok((await client.ttl('k')) > 90);
});

test('binary keys and values', async () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  await client.set(bytes, bytes);
  assert.deepEqual(await client.getBuffer(bytes), bytes);
  const big = Buffer.alloc(20 << 20, 'fencepost');
  await client.set('big', big);
  assert.ok((await client.getBuffer('big')).equals(big));
});

test('channels', async () => {
  const subscriber = client.duplicate();
  const heard = new Promise((resolve) => subscriber.on('pmessage', (pattern, channel, message) => resolve([channel, message])));
  await subscriber.psubscribe('ne*');
  assert.equal(await client.publish('news', 'hello'), 1);
  assert.deepEqual(await heard, ['news', 'hello']);
  await subscriber.quit();
});
