// With openapi-fetch and the types that openapi-typescript generates: create, find, read, replace,
// patch, delete and restore a document. Takes the service's address and an API key.

import createClient from "openapi-fetch";
import type { paths } from "./strongroom";

async function main(url: string, key: string): Promise<void> {
  const client = createClient<paths>({
    baseUrl: url,
    headers: { Authorization: `Bearer ${key}` },
  });
  const asBytes = { "Content-Type": "application/octet-stream" };
  const bodySerializer = (body: unknown) => body as BodyInit;

  const created = await client.POST("/v1/documents", {
    params: {
      header: {
        "Content-Disposition": 'attachment; filename="report.txt"',
        "Document-Tags": "generated",
        "Document-Metadata": JSON.stringify({ project: "alpha" }),
      },
    },
    headers: asBytes,
    body: "first",
    bodySerializer,
  });
  if (!created.data) throw new Error(created.error.detail);
  const { id, name, size, tags, metadata, content_etag } = created.data;
  console.log(`created ${name}: ${size} bytes, tags ${tags}, project ${metadata.project}`);

  const page = await client.GET("/v1/documents", { params: { query: { tag: "generated" } } });
  const found = page.data?.items.filter((item) => item.id === id) ?? [];
  console.log("found", ...found.map((item) => item.name));

  const path = { id };
  const readContent = () =>
    client.GET("/v1/documents/{id}/content", { params: { path }, parseAs: "text" });
  console.log("read", (await readContent()).data);

  const replaced = await client.PUT("/v1/documents/{id}/content", {
    params: { path, header: { "If-Match": content_etag } },
    headers: asBytes,
    body: "second",
    bodySerializer,
  });
  console.log(`replaced: version ${replaced.data?.version}, ${replaced.data?.size} bytes`);

  const patched = await client.PATCH("/v1/documents/{id}", {
    params: { path },
    body: { name: "renamed.txt" },
  });
  console.log("renamed to", patched.data?.name);

  const deleted = await client.DELETE("/v1/documents/{id}", { params: { path } });
  const gone = await client.GET("/v1/documents/{id}", { params: { path } });
  console.log(`deleted (${deleted.response.status}), then ${gone.error?.status} ${gone.error?.type}`);

  const restored = await client.POST("/v1/documents/{id}/restore", { params: { path } });
  const content = (await readContent()).data;
  const state = restored.data?.deleted_at === null ? "there again" : "still deleted";
  console.log(`${restored.data?.name} is ${state}: ${content}`);
}

const [url, key] = process.argv.slice(2) as [string, string];
void main(url, key);
