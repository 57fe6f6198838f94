// With the client that openapi-generator generates for TypeScript (typescript-fetch): create, find,
// read, replace, patch, delete and restore a document. Takes the service's address and an API key.

import { Configuration, DocumentsApi, ProblemFromJSON, ResponseError } from "./strongroom";

async function main(url: string, key: string): Promise<void> {
  const documents = new DocumentsApi(new Configuration({ basePath: url, accessToken: key }));

  const created = await documents.createDocument({
    body: new Blob(["first"]),
    contentDisposition: 'attachment; filename="report.txt"',
    documentTags: "generated",
    documentMetadata: JSON.stringify({ project: "alpha" }),
  });
  const { id, name, size, tags, metadata } = created;
  console.log(`created ${name}: ${size} bytes, tags ${tags}, project ${metadata.project}`);

  const page = await documents.listDocuments({ tag: "generated" });
  console.log("found", ...page.items.filter((item) => item.id === id).map((item) => item.name));
  console.log("read", await (await documents.readContent({ id })).text());

  const replaced = await documents.replaceContent({
    id,
    body: new Blob(["second"]),
    ifMatch: created.contentEtag,
  });
  console.log(`replaced: version ${replaced?.version}, ${replaced?.size} bytes`);

  const patched = await documents.patchDocument({ id, documentPatch: { name: "renamed.txt" } });
  console.log("renamed to", patched?.name);

  const deleted = await documents.deleteDocumentRaw({ id });
  try {
    await documents.readDocument({ id });
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error;
    const gone = ProblemFromJSON(await error.response.json());
    console.log(`deleted (${deleted.raw.status}), then ${gone.status} ${gone.type}`);
  }

  const restored = await documents.restoreDocument({ id });
  const content = await (await documents.readContent({ id })).text();
  const state = restored?.deletedAt === null ? "there again" : "still deleted";
  console.log(`${restored?.name} is ${state}: ${content}`);
}

const [url, key] = process.argv.slice(2) as [string, string];
void main(url, key);
