// ioredis and node-redis against a Redis server: drive.mjs FOLDER HOST PORT [USER PASSWORD], where FOLDER has their packages.
// Says `ok` at the end, or stops at what is wrong.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const [folder, host, port, username, password] = process.argv.slice(2);
const load = createRequire(`${folder}/`);

async function withIoredis() {
  const Redis = load("ioredis");
  const options = { host, port: Number(port), username, password };
  const client = new Redis(options);
  client.on("error", (error) => assert.fail(error));
  await client.del("io:a", "io:n");
  assert.equal(await client.set("io:a", "1", "EX", 100, "NX"), "OK");
  assert.equal(await client.set("io:a", "2", "NX"), null);
  assert.equal(await client.get("io:a"), "1");
  assert.ok((await client.ttl("io:a")) > 90);
  const binary = Buffer.from([0, 13, 10, 255]);
  await client.set("io:binary", binary, "PX", 60000);
  assert.deepEqual(await client.getBuffer("io:binary"), binary);
  // Everything that is asked in one turn goes out as one pipeline.
  const counts = await Promise.all(Array.from({ length: 1000 }, () => client.incr("io:n")));
  assert.deepEqual(counts, Array.from({ length: 1000 }, (_, at) => at + 1));
  const piped = await client.pipeline().mset("io:x", 1, "io:y", 2).mget("io:x", "io:y", "io:none").exec();
  assert.deepEqual(piped, [[null, "OK"], [null, ["1", "2", null]]]);
  const done = await client.multi().set("io:x", 5).incrby("io:x", 2).exec();
  assert.deepEqual(done, [[null, "OK"], [null, 7]]);
  const found = [];
  for await (const keys of client.scanStream({ match: "io:*", count: 5 })) found.push(...keys);
  assert.ok(found.includes("io:a") && found.includes("io:n"));
  await assert.rejects(client.incr("io:binary"), /not an integer/);
  await assert.rejects(client.call("LPUSH", "io:list", "x"), /unknown command 'LPUSH', Larder/);
  const listener = new Redis(options);
  const heard = new Promise((resolve) => listener.on("message", (channel, text) => resolve([channel, text])));
  assert.equal(await listener.subscribe("io:news"), 1);
  assert.equal(await client.publish("io:news", "hello"), 1);
  assert.deepEqual(await heard, ["io:news", "hello"]);
  listener.disconnect();
  await client.quit();
}

async function withNodeRedis(RESP) {
  const { createClient } = load("redis");
  const client = createClient({ RESP, username, password, socket: { host, port: Number(port) } });
  client.on("error", (error) => assert.fail(error));
  await client.connect();
  await client.del(["nr:a", "nr:n"]);
  assert.equal(await client.set("nr:a", "1", { EX: 100 }), "OK");
  assert.equal(await client.get("nr:a"), "1");
  assert.equal(await client.get("nr:none"), null);
  assert.ok((await client.pTTL("nr:a")) > 90000);
  const counts = await Promise.all(Array.from({ length: 1000 }, () => client.incr("nr:n")));
  assert.equal(counts.at(-1), 1000);
  assert.deepEqual(await client.multi().set("nr:x", "5").get("nr:x").exec(), ["OK", "5"]);
  assert.deepEqual(await client.mGet(["nr:a", "nr:none"]), ["1", null]);
  const found = [];
  for await (const keys of client.scanIterator({ MATCH: "nr:*" })) found.push(...[keys].flat());
  assert.ok(found.includes("nr:a"));
  assert.ok((await client.info("server")).includes("larder_version"));
  const listener = client.duplicate();
  listener.on("error", (error) => assert.fail(error));
  await listener.connect();
  const heard = [];
  await listener.subscribe("nr:news", (text) => heard.push(text));
  await listener.pSubscribe("__keyspace@0__:nr:*", (event) => heard.push(event));
  assert.equal(await client.publish("nr:news", "hello"), 1);
  await client.set("nr:b", "x", { PX: 50 });
  for (let waited = 0; heard.length < 4 && waited < 2400; waited += 1) await pause(50);
  assert.deepEqual(heard, ["hello", "set", "expire", "expired"]);
  await listener.close();
  await client.close();
}

await withIoredis();
await withNodeRedis(2);
await withNodeRedis(3);
console.log("ok");
