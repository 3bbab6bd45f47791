// Answers HTTP requests as a service worker does. GET returns the path and the client's address; POST takes an object
// as JSON and returns it with its keys sorted.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  switch (request.method) {
    case "GET":
    case "HEAD":
      return Response.json({
        path: new URL(request.url).pathname,
        client: request.headers.get("x-forwarded-for") ?? "local",
      });
    case "POST":
      return sorted(await request.text());
    default:
      return new Response(`${request.method} is not understood\n`, {
        status: 405,
        headers: { allow: "GET, HEAD, POST" },
      });
  }
}

function sorted(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return new Response(`${error.message}\n`, { status: 400 });
  }
  return Response.json(Object.fromEntries(Object.entries(value).sort()));
}
