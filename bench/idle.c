/* A guest with nothing of its own: what an idle connection costs here, it costs the host.
   clang --target=wasm32-wasi -Os -s -o idle.wasm idle.c */
#include <unistd.h>

int main(void)
{
	char chunk[512];
	ssize_t length;

	while ((length = read(0, chunk, sizeof chunk)) > 0)
		if (write(1, chunk, length) != length)
			return 1;
	return 0;
}
