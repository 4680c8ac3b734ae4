%% One-way messages between two Erlang nodes over TCP loopback: the peer of bench_messaging.py.
%% The receiver prints the seconds from telling the sender to go until the last message is there.
-module(erlang_oneway).
-export([receiver/0, sender/1]).

receiver() ->
    register(sink, self()),
    io:format("ready~n"),
    receive {sender, Pid, Count} ->
        Began = erlang:monotonic_time(),
        Pid ! go,
        count(Count),
        Elapsed = erlang:convert_time_unit(erlang:monotonic_time() - Began, native, microsecond),
        io:format("~b~n", [Elapsed])
    end,
    halt(0).

count(0) -> ok;
count(Left) -> receive #{number := _} -> count(Left - 1) end.

sender([Node, Count]) ->
    Size = list_to_integer(atom_to_list(Count)),
    pong = net_adm:ping(Node),
    {sink, Node} ! {sender, self(), Size},
    receive go -> ok end,
    send({sink, Node}, 1, Size),
    timer:sleep(60000).

%% The pid is what distribution sends to; the registered name would cost a lookup a message.
send(Sink, Number, Size) -> loop(rpc:call(element(2, Sink), erlang, whereis, [sink]), Number, Size).

loop(_, Number, Size) when Number > Size -> ok;
loop(Sink, Number, Size) ->
    Sink ! #{number => Number, task_id => <<"task-0001">>, state => <<"TASK_RUNNING">>, data => <<"xxxxxxxxxxxxxxxxxxxxxxxxx">>},
    loop(Sink, Number + 1, Size).
