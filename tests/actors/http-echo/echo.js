// Sends the body of a request back as it comes; to /throw, nothing.
addEventListener("fetch", (event) => {
  if (event.request.url.endsWith("/throw")) {
    throw new Error("as it was asked to");
  }
  event.respondWith(new Response(event.request.body));
});
