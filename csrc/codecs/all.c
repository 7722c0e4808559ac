/* The native codecs this build has. The only list there is; everything else finds a codec by name. */
#include "../codec.h"

extern const struct codec redis_codec, tcp_codec, http1_codec, http2_codec;

/* weak: a test of the engine brings codecs of its own */
__attribute__((weak)) const struct codec *const codecs[] = {&redis_codec, &tcp_codec, &http1_codec, &http2_codec, NULL};
