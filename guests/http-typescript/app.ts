// Adds up an order that is posted as JSON, and reports what is wrong with an invalid one.

type Item = { name: string; price: number; quantity: number };

type Result = { status: 200; total: number; items: number } | { status: 400 | 405; error: string };

class Mistake extends Error {}

addEventListener('fetch', serve as EventListener);

function serve(event: FetchEvent): void {
  event.respondWith(answer(event.request));
}

async function answer(request: Request): Promise<Response> {
  const { status, ...told } = await result(request);
  const allow: Record<string, string> = status === 405 ? { allow: 'POST' } : {};
  return Response.json(told, { status, headers: allow });
}

async function result(request: Request): Promise<Result> {
  if (request.method !== 'POST') return { status: 405, error: 'Post an order.' };
  try {
    const items = order(JSON.parse(await request.text()));
    const cents = items.reduce((sum, { price, quantity }) => sum + Math.round(price * 100) * quantity, 0);
    return { status: 200, total: cents / 100, items: items.length };
  } catch (problem) {
    if (problem instanceof Mistake || problem instanceof SyntaxError) return { status: 400, error: problem.message };
    throw problem;
  }
}

/** Input is `unknown` until it has been validated. */
function order(value: unknown): Item[] {
  if (!Array.isArray(value)) throw new Mistake('an order is a list');
  return value.map((item: unknown, at) => {
    if (!isItem(item)) throw new Mistake(`item ${at}: {"name": text, "price": number, "quantity": whole number}`);
    return item;
  });
}

function isItem(value: unknown): value is Item {
  const item = value as Partial<Item> | null;
  return (
    typeof item?.name === 'string' &&
    typeof item.price === 'number' &&
    Number.isInteger(item.quantity)
  );
}
