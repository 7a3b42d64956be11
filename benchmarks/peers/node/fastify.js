// Fastify with pg.
import Fastify from "fastify";

import { serve } from "./cluster.js";
import { page } from "./pages.js";

serve((port) => {
  const app = Fastify();
  app.get("/properties", async () => page());
  app.listen({ port, host: "127.0.0.1" });
});
