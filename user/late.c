/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "late.h"

#include <dlfcn.h>
#include <string.h>

#include "util.h"

int late_load(const char *library, const struct late_symbol *symbols, size_t count)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	size_t found = 0;

	for (; handle && found < count; found++) {
		void *symbol = dlsym(handle, symbols[found].name);

		if (!symbol)
			break;
		memcpy(symbols[found].to, &symbol, sizeof(symbol));
	}
	if (handle && found == count)
		return 0;
	/* Before the library is closed, with which the reason would go. */
	log_error("%s cannot be loaded: %s", library, dlerror());
	if (handle)
		dlclose(handle);
	return -ENOENT;
}
