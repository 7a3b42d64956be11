// Express with Prisma.
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "@prisma/client";
import express from "express";

import { serve } from "./cluster.js";
import { document, LIMIT } from "./pages.js";

serve((port) => {
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.PEER_DATABASE_URL, max: 10 }) });
  const app = express();

  app.get("/properties", async (request, response) => {
    const found = await prisma.property.findMany({
      where: { agency_id: process.env.PEER_AGENCY },
      orderBy: { id: "desc" },
      take: LIMIT + 1,
      include: { _count: { select: { units: true } } },
    });
    // _count counts one condition a relation: those that are occupied are a second query.
    const occupied = await prisma.unit.groupBy({
      by: ["property_id"],
      where: { agency_id: process.env.PEER_AGENCY, property_id: { in: found.map((one) => one.id) }, status: "OCCUPIED" },
      _count: true,
    });
    const counts = new Map(occupied.map((one) => [one.property_id, one._count]));
    const rows = found.map(({ _count, agency_id, ...row }) => ({
      ...row,
      unit_count: _count.units,
      occupied_count: counts.get(row.id) ?? 0,
    }));
    response.json(document(rows));
  });

  app.listen(port, "127.0.0.1");
});
