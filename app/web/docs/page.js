"use strict";

// Swagger UI has its dark colours under this class, and knows no preference of the browser.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const applyColours = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyColours);
applyColours();

const hex = (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;

// A chosen file brings its type and its name. The curl command that the page shows has them, too.
const describeFile = (request) => {
  const file = request.body;
  if (!(file instanceof File)) {
    return request;
  }
  if (file.type) {
    request.headers["Content-Type"] = file.type;
  }
  if (request.method === "POST" && !request.headers["Content-Disposition"]) {
    request.headers["Content-Disposition"] =
      `attachment; filename*=UTF-8''${encodeURIComponent(file.name).replace(/['()*]/g, hex)}`;
  }
  return request;
};

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  filter: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  requestInterceptor: describeFile,
  // The API key stays in this page's memory, and nobody is sent the document for validation.
  persistAuthorization: false,
  validatorUrl: null,
});
