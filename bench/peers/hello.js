// What guests/http-hello answers to `GET /`.
export default {
  fetch() {
    return new Response("Hello, stranger!\n");
  },
};
