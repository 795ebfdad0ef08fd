# A search index that forgives typing errors: each spelling near a word of the catalogue, with its products, the best seller
# first.
use strict;
use warnings;

my ($catalogue, $sales) = @ARGV;
my (%sold, %found);

open my $in, '<', $sales or die "$sales: $!";
while (<$in>) { my ($product, $pieces) = split /,/; $sold{$product} = $pieces }
close $in;

sub spellings {
    my ($word) = @_;
    my %all = ($word => 1);
    for my $at (0 .. length $word) {
        my ($head, $tail) = (substr($word, 0, $at), substr($word, $at));
        $all{$head . substr($tail, 1)} = 1 if length $tail;
        $all{$head . substr($tail, 1, 1) . substr($tail, 0, 1) . substr($tail, 2)} = 1 if length $tail > 1;
        for my $letter ('a' .. 'z') {
            $all{$head . $letter . $tail} = 1;
            $all{$head . $letter . substr($tail, 1)} = 1 if length $tail;
        }
    }
    return keys %all;
}

# Short words would find everything when they may differ in a letter; long ones may differ in two.
sub near {
    my ($word) = @_;
    return ($word) if length $word < 4;
    my %near = map { $_ => 1 } $word, spellings($word);
    if (length $word > 7) { $near{$_} = 1 for map { spellings($_) } keys %near }
    return keys %near;
}

open $in, '<', $catalogue or die "$catalogue: $!";
while (<$in>) {
    my ($product, $name) = split /,/;
    for my $word (split / /, $name) { $found{$_}{$product} = 1 for near($word) }
}
close $in;

for my $word (sort keys %found) {
    my @products = sort { $sold{$b} <=> $sold{$a} || $a <=> $b } keys %{ $found{$word} };
    print join("\t", $word, @products[0 .. ($#products < 7 ? $#products : 7)]), "\n";
}
