/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A file of the source in the program. */
#ifndef REPRIEVE_EMBED_H
#define REPRIEVE_EMBED_H

/* The text of `file`, found through the include path (-Iuser), from `symbol` to `symbol`_end, where a 0 stands. */
#define EMBED(symbol, file)                                   \
	__asm__(".pushsection .rodata\n"                      \
		".global " #symbol "\n" #symbol ":\n"         \
		".incbin \"" file "\"\n"                      \
		".global " #symbol "_end\n" #symbol "_end:\n" \
		".byte 0\n"                                   \
		".popsection\n")

#endif
