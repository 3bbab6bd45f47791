/* A guest without data of its own: the cost of its idle connection is the cost of the host.
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
