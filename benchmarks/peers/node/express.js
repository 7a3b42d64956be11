// Express with pg, and ioredis for what is stored.
import express from "express";
import { Redis } from "ioredis";

import { serve } from "./cluster.js";
import { page } from "./pages.js";

const STORED_FOR_S = 300;

serve((port) => {
  const app = express();
  const redis = new Redis(process.env.PEER_REDIS_URL);

  app.get("/properties", async (request, response) => {
    response.json(await page());
  });

  app.get("/stored/properties", async (request, response) => {
    let body = await redis.get("peers:properties");
    if (body === null) {
      body = JSON.stringify(await page());
      await redis.set("peers:properties", body, "EX", STORED_FOR_S);
    }
    response.type("application/json").send(body);
  });

  app.listen(port, "127.0.0.1");
});
