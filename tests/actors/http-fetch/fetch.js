// Passes a request on to the URL in its query, with `fetch`, and the answer back. What goes wrong is the answer, with
// status 502.
addEventListener("fetch", (event) => event.respondWith(passOn(event.request)));

async function passOn(request) {
  const url = request.url.slice(request.url.indexOf("?") + 1);
  const hasBody = request.method === "POST";
  try {
    const response = await fetch(url, {
      method: request.method,
      headers: { "x-test": request.headers.get("x-test") ?? "" },
      body: hasBody ? await request.text() : undefined,
    });
    return new Response(response.body, { status: response.status });
  } catch (error) {
    return new Response(`${error}\n`, { status: 502 });
  }
}
