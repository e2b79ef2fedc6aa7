#include "tools/text.h"

#include <gtest/gtest.h>

namespace rondo {
namespace {

TEST(PrintableTest, KeepsTextAndUtf8) { EXPECT_EQ(Printable("layer.0/W\xc3\xbc"), "layer.0/W\xc3\xbc"); }

TEST(PrintableTest, EscapesControlCharactersAndTerminalSequences) {
  EXPECT_EQ(Printable("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(Printable("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(Printable(absl::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");           // C1: a one-character escape sequence
  EXPECT_EQ(Printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
}

TEST(PrintableTest, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(Printable("\xff"), "\\xff");
  EXPECT_EQ(Printable("\xc3"), "\\xc3");                    // cut short
  EXPECT_EQ(Printable("\xc0\x80"), "\\xc0\\x80");           // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
}

TEST(PrintableTest, CutsLongNames) {
  EXPECT_EQ(Printable(std::string(1000, 'x'), 10), "xxxxxxxxxx...");
  EXPECT_EQ(Printable("\xc3\xbc\xc3\xbc", 3), "\xc3\xbc...");  // never inside a character
}

TEST(NumbersTest, HaveUnits) {
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(SecondsText(0.0000123), "12.3 us");
  EXPECT_EQ(SecondsText(0.012), "12.00 ms");
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1000), "1,000");
  EXPECT_EQ(CountText(-1234567), "-1,234,567");
}

TEST(TextTableTest, AlignsColumns) {
  TextTable table({"name", "count"}, "lr");
  table.Add({"a", "1"});
  table.Add({"l\xc3\xa4nger", "100"});
  EXPECT_EQ(table.ToString(), "name    count\na           1\nl\xc3\xa4nger    100\n");
}

}  // namespace
}  // namespace rondo
