// Runs ioredis against HOST PORT and prints one JSON object with what it saw. Exits 1 on any surprise.
"use strict";
const Redis = require("ioredis");
const [host, port] = process.argv.slice(2);
const options = { host, port: Number(port), maxRetriesPerRequest: 1, connectTimeout: 5000 };

async function main() {
  const seen = {};
  const redis = new Redis(options);
  await redis.set("text", "hello");
  seen.get = await redis.get("text");
  seen.missing = await redis.get("missing");
  await redis.hset("hash", { a: "1", b: "2" });
  seen.hash = await redis.hgetall("hash");
  const pipeline = redis.pipeline();
  for (let n = 0; n < 100; n++) pipeline.incr("n");
  seen.pipeline = (await pipeline.exec()).map(([error, value]) => (error ? String(error) : value)).join(",");
  seen.multi = await redis.multi().set("m", "1").incr("m").exec();
  redis.defineCommand("twice", { numberOfKeys: 1, lua: "return {KEYS[1], ARGV[1] * 2}" });
  seen.script = [await redis.twice("key", 21), await redis.twice("key", 4)];
  seen.buffer = (await redis.set("bin", Buffer.from([0, 255, 13, 10])), (await redis.getBuffer("bin")).toString("hex"));
  await redis.mset(Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`scan:${n}`, "x"])));
  const names = new Set();
  for await (const keys of redis.scanStream({ match: "scan:*", count: 10 })) keys.forEach((key) => names.add(key));
  seen.scan = names.size;
  seen.error = await redis.incr("text").catch((error) => error.message);

  const subscriber = new Redis(options);
  const message = new Promise((resolve) => subscriber.on("message", (channel, text) => resolve([channel, text])));
  seen.subscribed = await subscriber.subscribe("news");
  seen.receivers = await redis.publish("news", "extra");
  seen.message = await message;
  await subscriber.unsubscribe("news");
  seen.after = await subscriber.get("text");

  const waiter = new Redis(options);
  const popped = waiter.blpop("queue", 5);
  await redis.rpush("queue", "job");
  seen.popped = await popped;

  const other = new Redis({ ...options, db: 3 });
  await other.set("text", "in three");
  seen.databases = [await redis.get("text"), await other.get("text")];
  await Promise.all([redis, subscriber, waiter, other].map((client) => client.quit()));
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
