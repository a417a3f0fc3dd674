/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "late.h"

#include <dlfcn.h>
#include <string.h>

#include "util.h"

int late_load(const char *library, const struct late_symbol *symbols, size_t count)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; handle && i < count; i++) {
		void *symbol = dlsym(handle, symbols[i].name);

		if (!symbol) {
			dlclose(handle);
			handle = NULL;
			break;
		}
		memcpy(symbols[i].to, &symbol, sizeof(symbol));
	}
	if (handle)
		return 0;
	log_error("%s cannot be loaded: %s", library, dlerror());
	return -ENOENT;
}
