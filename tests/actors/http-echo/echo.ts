// As echo.js, with types that a JavaScript engine would not understand.
interface FetchEvent extends Event {
  readonly request: Request;
  respondWith(response: Response | Promise<Response>): void;
}

function answer({ request }: FetchEvent): void | Response {
  const path: string = new URL(request.url).pathname;
  if (path === "/throw") {
    throw new Error("as it was asked to" satisfies string);
  }
  return new Response(request.body as ReadableStream<Uint8Array>);
}

addEventListener("fetch", (event: Event) => {
  const asked = event as FetchEvent;
  asked.respondWith(answer(asked) as Response);
});
