// As many processes as the other programs have, on one port.
import cluster from "node:cluster";

export function serve(start) {
  if (!cluster.isPrimary) return start(Number(process.env.PORT));
  for (let number = 0; number < Number(process.env.WEB_CONCURRENCY); number += 1) cluster.fork();
  process.on("SIGTERM", () => process.exit(0));
}
