// What guests/http-hello answers to `GET /`, in JavaScript.
addEventListener("fetch", (event) => {
  event.respondWith(new Response("Hello, stranger!\n"));
});
