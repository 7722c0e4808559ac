/* Redis' merge. */
#include "check.h"
#include "redis_rows.h"
#include "../codecs/redis_merge.h"
#include "../codecs/redis_shape.h"

TEST(a_table_is_made_of_rows) {
    static struct rows kept;
    char err[200];
    struct redis_table *t = rows_table(&kept, some_rows, countof(some_rows), err, sizeof err);
    CHECK(t != NULL);
    redis_table_free(t);
}

int main(void) {
    RUN(a_table_is_made_of_rows);
    return 0;
}
