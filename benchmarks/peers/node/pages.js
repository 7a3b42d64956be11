// The page that all programs here serve: the statement that Haven sends, with the agency in its condition.
import pg from "pg";

export const LIMIT = 50;
const AGENCY = process.env.PEER_AGENCY;

// int8 comes as text otherwise.
pg.types.setTypeParser(20, Number);

const PAGE = `
  SELECT id, name, code, kind, address, location, county, latitude::text, longitude::text, status, owner_id,
         created_at, updated_at, version,
         (SELECT count(*) FROM unit u WHERE u.agency_id = p.agency_id AND u.property_id = p.id) AS unit_count,
         (SELECT count(*) FROM unit u WHERE u.agency_id = p.agency_id AND u.property_id = p.id AND u.status = 'OCCUPIED')
           AS occupied_count
    FROM property p
   WHERE agency_id = $1
   ORDER BY id DESC
   LIMIT $2`;

const pool = new pg.Pool({ connectionString: process.env.PEER_DATABASE_URL, max: 10 });

export async function page() {
  const { rows } = await pool.query({ name: "page", text: PAGE, values: [AGENCY, LIMIT + 1] });
  return document(rows);
}

export function document(rows) {
  const data = rows.slice(0, LIMIT);
  const hasMore = rows.length > LIMIT;
  const nextCursor = hasMore ? Buffer.from(data.at(-1).id).toString("base64url") : null;
  return { data, pagination: { limit: LIMIT, next_cursor: nextCursor, has_more: hasMore } };
}
